// What the page is at: its state, the answer to it, and what it knows of the server.

import { readState } from "./state.js";

export const session = {
  state: readState(),
  answer: null, // to the search of `state`
  answered: null, // the key of the search whose results are shown
  health: null,
  unwell: null, // why the server cannot search
  problem: null, // that is told
  columns: null, // to filter by
  examples: [],
};

/** Whether the results are texts. */
export const areTexts = ({ q, target } = session.state) => !q && target === "texts";

/** Whether a search is by a picture. */
export const isByPicture = ({ like, picture } = session.state) => like !== null || picture !== null;
