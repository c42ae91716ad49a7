// What the page says, in Chinese and English.

const WORDS = {
  zh: {
    hint: "输入一句中文，或拖入、粘贴一张图片",
    go: "搜索", pick: "选一张图片", takeAway: "去掉图片", api: "接口文档", other: "English",
    stage: "排序", twoStage: "两段排序", preRanking: "只用预排序", by: "按什么找", byBoth: "文字和画面", byVectors: "只按画面", byWords: "只按文字",
    reason: "找到的原因", foundBy: { words: "文字相符", picture: "画面相符", both: "文字和画面都相符" }, wordScore: "文字得分（BM25）",
    target: "在哪里找", images: "找图片", texts: "找文字",
    welcome: "用一句话找图，用一张图找图或找文字", examples: ["生日蛋糕", "庆祝", "难过", "下雨", "小狗", "足球"],
    dropHere: "图片可以直接拖进来，也可以用 Ctrl+V 粘贴；按 / 回到输入框",
    results: "结果", more: "更多", drop: "松开鼠标，用这张图搜索", close: "关闭", similar: "找相似的图",
    explanation: "模型看了哪里", explaining: "正在计算…",
    wordsHint: "点一个词，看它在图上看哪里：", wholeHint: "这句话里没有名词，按整句给出：",
    patchesHint: "点图上的一块，看它在看哪些词。", patch: (words) => `这一块在看：${words}`,
    ownHint: "用这张图自己的文字来解释。点一个词，看它在图上看哪里：", noTextHere: "这张图没有文字，没有可以解释的词。",
    fileGone: "原文件已不在，或读不出来：这里显示的是缩略图。",
    comma: "，", byText: "用这句话找图", itsPicture: "这句话原来的图", end: (n) => `最多列出前 ${n} 条，换个说法再找找。`,
    notes: {
      first_frame: () => "这张图有多帧，只用了第一帧。",
      other_kind: () => "这个模型只认识表情符号，而这里是别的图片：结果与随机无异。请用 --model 换一个认识照片的模型。",
      searched_as: ({ about }) => `已按“${about}”搜索。`,
      unknown_characters: ({ about }) => `模型不认识：${about}。`,
      no_english: ({ about }) => `模型不懂英文：${about}。`,
      not_understood: () => "这段话里没有模型能看懂的内容。",
      second_stage_off: () => "没有重排：在验证集上，这个模型不重排效果更好（权重为 0）。",
      nothing_fits: () => "没有合适的图片，下面只是最接近的几张。",
      not_calibrated: () => "这个索引是旧版本做的，无法判断结果有多可靠：请再运行一次 r2d2 index。",
      pictures_not_calibrated: () => "模型能读懂的中文太少，无法判断按画面找到的结果有多可靠。",
      text_cut: ({ max_tokens: n }) => `这段文字太长，模型只读了前 ${n} 个词元，后面的没有解释。`,
    },
    cosine: "余弦", match: "匹配", score: "得分", rank: "名次", id: "编号", split: "划分", others: "其他文字",
    was: (n) => `预排序第 ${n}`, query: "查询图片", noPicture: "图片无法显示", row: "行",
    formula: (w) => `${w} × 匹配 + 余弦`,
    summaryTwo: (n, m, moved) => `${n} 条中靠前的 ${m} 条由交叉编码器重排，本页 ${moved} 条换了位置`,
    summaryPre: (n) => `${n} 条按余弦排序`, summaryWords: () => "按文字排序", summaryBoth: (n) => `${n} 条按文字和余弦排序`,
    about: (name, n) => `${name} · ${n} 张图`, emoji: "表情符号",
    upBy: (n) => `上升 ${n} 位`, downBy: (n) => `下降 ${n} 位`, loading: "正在搜索…",
    keyTitle: "访问密钥", keyAbout: "这台服务器需要密钥。它只保存在这个标签页里。", keyGo: "继续",
    problems: {
      nothing: "没有找到结果。", busy: "服务器正忙，请稍后再试。",
      too_large: ({ max_bytes: n }) => `文件太大${n ? `（最多 ${megabytes(n)} MB）` : ""}，请换一张小一些的图片。`,
      image_too_large: ({ max_pixels: n }) => `图片太大${n ? `（最多 ${n / 1e4} 万像素）` : ""}，请换一张小一些的。`,
      text_empty: "请输入一些文字。", text_unreadable: "这段文字里有坏掉的字符，请重新输入。",
      text_too_long: ({ max_tokens: n }) => `这句话太长${n ? `：模型最多读 ${n} 个词元（一个汉字大约一个）` : ""}，请缩短。`,
      too_deep: "不能再往后翻了，换个说法再找找。",
      index_empty: "索引里还没有图片：请先往表里添加图片，再运行 r2d2 index。",
      no_index: "这个表没有索引：请先运行 r2d2 index。", texts_not_indexed: "这个表的文字没有索引，不能找文字：请运行 r2d2 index，不要加 --no-texts。",
      no_texts: "这些图片没有文字，只能找图片。",
      index_of_another_model: "文字的索引是另一个模型做的：请运行 r2d2 index --overwrite 重做。",
      no_cross_encoders: "这个模型没有交叉编码器，无法解释。", row_unreadable: "图库里的这张图已损坏，无法解释。",
      not_found: "服务器上没有这一项，索引可能已经重做：请刷新页面。", key: "密钥不对，请再试一次。",
      status: (code) => `服务器答复 ${code}，请稍后再试。`, image_unreadable: "这个文件不是能读的图片，请用 JPEG、PNG、GIF 或 WebP。",
      image_truncated: "图片不完整，请重新保存后再试。", image_empty: "这个文件是空的。",
      unreachable: "连接不到服务器，请确认它还在运行。", not_picture: "请给一张图片：JPEG、PNG、GIF 或 WebP。",
      slow: "上传太慢，已超时。", server: "服务器出错了，请查看它的日志。",
    },
  },
  en: {
    hint: "Describe a picture in Chinese, or drop or paste one",
    go: "Search", pick: "Choose a picture", takeAway: "Remove the picture", api: "API", other: "中文",
    stage: "Ranking", twoStage: "Two-stage", preRanking: "Pre-ranking", by: "Search by", byBoth: "Both", byVectors: "Pictures", byWords: "Words",
    reason: "found by", foundBy: { words: "words", picture: "picture", both: "words and picture" }, wordScore: "words (BM25)",
    target: "Look among", images: "Images", texts: "Texts",
    welcome: "Find pictures by a sentence; pictures or texts by a picture", examples: ["生日蛋糕", "庆祝", "难过", "下雨", "小狗", "足球"],
    dropHere: "Drop a picture anywhere, or paste one with Ctrl+V; / goes back to the box",
    results: "Results", more: "More", drop: "Drop it to search by this picture", close: "Close", similar: "Find similar pictures",
    explanation: "Where the model looked", explaining: "Working…",
    wordsHint: "Click a word to see where it looks:", wholeHint: "No noun here, so the whole text is explained:",
    patchesHint: "Click a part of the picture to see which words it looks at.", patch: (words) => `That part looks at ${words}`,
    ownHint: "Explained by the picture's own text. Click a word to see where it looks:", noTextHere: "This picture has no text, so there is no word to explain.",
    fileGone: "The file is gone, or cannot be read: this is its thumbnail.",
    comma: ", ", byText: "Find pictures by this text", itsPicture: "The picture this text belongs to", end: (n) => `No more than ${n} results are listed: ask in other words.`,
    notes: {
      first_frame: () => "This picture has several frames: only the first is used.",
      other_kind: () => "This model knows emoji only, and these pictures are of another kind: what it finds is chance. Give --model one that knows photographs.",
      searched_as: ({ about }) => `Searched as ${about}.`,
      unknown_characters: ({ about }) => `The model does not know ${about}.`,
      no_english: ({ about }) => `The model knows no English: ${about}.`,
      not_understood: () => "The model can read nothing of this text.",
      second_stage_off: () => "No second stage: on the validation split this model ranks best without it (weight 0).",
      nothing_fits: () => "Nothing here fits: these are only the nearest.",
      not_calibrated: () => "An older version made this index, so it is not known how sure a result is: run r2d2 index once more.",
      pictures_not_calibrated: () => "The model can read too few Chinese texts to tell how sure a result by its picture is.",
      text_cut: ({ max_tokens: n }) => `A long text: the model read its first ${n} tokens, and the rest is not explained.`,
    },
    cosine: "cosine", match: "match", score: "score", rank: "rank", id: "id", split: "split", others: "other texts",
    was: (n) => `${n} by pre-ranking`, query: "The picture you search by", noPicture: "no picture", row: "row",
    formula: (w) => `${w} × match + cosine`,
    summaryTwo: (n, m, moved) => `The first ${m} of ${n} ranked again by the cross encoders; ${moved} on this page moved`,
    summaryPre: (n) => `${n} ranked by cosine`, summaryWords: () => "Ranked by words", summaryBoth: (n) => `${n} ranked by words and cosine`,
    about: (name, n) => `${name} · ${n} images`, emoji: "the emoji corpus",
    upBy: (n) => `up by ${n}`, downBy: (n) => `down by ${n}`, loading: "Searching…",
    keyTitle: "API key", keyAbout: "This server asks for a key. It stays in this tab only.", keyGo: "Go on",
    problems: {
      nothing: "Nothing found.", busy: "The server is busy: try again in a moment.",
      too_large: ({ max_bytes: n }) => `That file is too large${n ? ` (at most ${megabytes(n)} MB)` : ""}: use a smaller picture.`,
      image_too_large: ({ max_pixels: n }) => `That picture is too large${n ? ` (at most ${n / 1e6} megapixels)` : ""}: use a smaller one.`,
      text_empty: "Give some words.", text_unreadable: "A character of that text is broken: type it again.",
      text_too_long: ({ max_tokens: n }) => `That text is too long${n ? `: the model reads ${n} tokens, about one a Chinese character` : ""}. Shorten it.`,
      too_deep: "There are no further pages: ask in other words.",
      index_empty: "The index is empty: fill the table, then run r2d2 index.",
      no_index: "This table has no index: run r2d2 index.", texts_not_indexed: "The texts of this table are not indexed: run r2d2 index without --no-texts.",
      no_texts: "These pictures have no texts: look among images.",
      index_of_another_model: "Another model made the index of the texts: run r2d2 index --overwrite.",
      no_cross_encoders: "This model has no cross encoders, so it cannot explain.", row_unreadable: "This picture of the gallery is damaged and cannot be explained.",
      not_found: "The server has no such thing; the index may be a new one: reload the page.", key: "That is not the key: try again.",
      status: (code) => `The server answers ${code}: try again later.`, image_unreadable: "That file is no picture that can be read: use JPEG, PNG, GIF or WebP.",
      image_truncated: "That picture is cut short: save it again.", image_empty: "That file is empty.",
      unreachable: "The server cannot be reached: is it still running?", not_picture: "Give a picture: JPEG, PNG, GIF or WebP.",
      slow: "The upload took too long.", server: "The server made a mistake: see its log.",
    },
  },
};

let language = stored() || (/^zh/i.test(navigator.language || "zh") ? "zh" : "en");

function stored() {
  try {
    const found = localStorage.getItem("r2d2.language");
    return found in WORDS ? found : null;
  } catch {
    return null; // storage may be forbidden
  }
}

/** A word, or the function that makes a sentence. */
export const say = (name) => WORDS[language][name];

/** The sentence for an error of the server's, or its own words. `limits`: what /health gave. */
export function sayProblem(code, words, limits) {
  const known = WORDS[language].problems;
  if (/^\d+$/.test(code)) return known.status(code);
  return filled(known[code], limits) || words || code;
}

/** The sentence for a note of the server's, or its own words. */
export const sayNote = (note, limits) => filled(say("notes")[note.code], { ...limits, about: note.about }) || note.note;

const filled = (sentence, limits) => (typeof sentence === "function" ? sentence(limits || {}) : sentence);
const megabytes = (bytes) => Number((bytes / (1 << 20)).toPrecision(3));

export const number = (value) => value.toLocaleString(language === "zh" ? "zh-CN" : "en");

export function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  try {
    localStorage.setItem("r2d2.language", language);
  } catch { /* then it lasts until the page is closed */ }
}

/** Put the words into the elements that ask for them. */
export function label(root = document) {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const one of root.querySelectorAll("[data-say]")) one.textContent = say(one.dataset.say);
  for (const one of root.querySelectorAll("[data-label]")) one.setAttribute("aria-label", say(one.dataset.label));
  for (const one of root.querySelectorAll("[data-title]")) one.title = say(one.dataset.title);
  for (const one of root.querySelectorAll("[data-hint]")) one.placeholder = say(one.dataset.hint);
}
