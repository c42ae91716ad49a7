// Rank pictures by a text, with a folder that `r2d2 export onnx` wrote.
//
//   npm install --ignore-scripts
//   node search.mjs EXPORTED "生日蛋糕" cake.png dog.jpg ...
//
// Prints a line of JSON for each picture, best first. The second stage runs where the folder has
// match.onnx, on the best `top_k` pictures.

import fs from "node:fs";
import path from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import * as ort from "onnxruntime-node";
import sharp from "sharp";

const [folder, text, ...pictures] = process.argv.slice(2);
if (pictures.length === 0) {
  console.error('usage: node search.mjs EXPORTED "text" PICTURE...');
  process.exit(2);
}
const json = (name) => JSON.parse(fs.readFileSync(path.join(folder, name), "utf8"));
const config = json("config.json");
const open = (name) => ort.InferenceSession.create(path.join(folder, config.graphs[name]));

/** Upright RGB pixels on white, as a tensor (1, H, W, 3). The graph resizes them. */
async function pixels(file) {
  const { data, info } = await sharp(file)
    .rotate() // as its EXIF says
    .flatten({ background: "#ffffff" })
    .toColourspace("srgb")
    .raw()
    .toBuffer({ resolveWithObject: true });
  return new ort.Tensor("uint8", new Uint8Array(data), [1, info.height, info.width, 3]);
}

const int64 = (numbers) =>
  new ort.Tensor("int64", BigInt64Array.from(numbers, BigInt), [1, numbers.length]);
const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

// The library does not cut long texts, whatever tokenizer.json says: the graph does.
const tokenizer = new Tokenizer(json("tokenizer.json"), {});
const tokens = tokenizer.encode(text);
if (tokens.ids.length > config.max_length) {
  console.error(`the text has ${tokens.ids.length} tokens: it is cut at ${config.max_length}`);
}
const textEncoder = await open("text");
const query = await textEncoder.run({
  ids: int64(tokens.ids),
  mask: int64(tokens.attention_mask),
});

const imageEncoder = await open("image");
const results = [];
for (const picture of pictures) {
  const { states, embedding } = await imageEncoder.run({ image: await pixels(picture) });
  const cosine = dot(embedding.data, query.embedding.data);
  results.push({ picture, cosine, match: null, score: cosine, states });
}
results.sort((a, b) => b.score - a.score);

if (config.graphs.match) {
  const scorer = await open("match");
  const best = results.slice(0, config.top_k);
  for (const result of best) {
    const { match } = await scorer.run({
      image_states: result.states,
      text_states: query.states,
      text_mask: query.states_mask,
    });
    result.match = match.data[0];
    result.score = config.match_weight * result.match + result.cosine;
  }
  best.sort((a, b) => b.score - a.score);
  results.splice(0, best.length, ...best);
}

for (const { picture, score, cosine, match } of results) {
  console.log(JSON.stringify({ picture, score, cosine, match }));
}
