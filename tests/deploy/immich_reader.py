"""A plain reader of immich's layout, which knows the files and nothing of ours."""

import json

import numpy as np
import onnxruntime
from PIL import Image
from tokenizers import Tokenizer


class ImmichReader:
    """Embeds one picture or one text at a time."""

    def __init__(self, folder):
        visual, textual = folder / "visual", folder / "textual"
        self.length = json.loads((folder / "config.json").read_text())["text_cfg"]["context_length"]
        self.pictures = json.loads((visual / "preprocess_cfg.json").read_text())
        pad = json.loads((textual / "tokenizer_config.json").read_text())["pad_token"]
        self.tokenizer = Tokenizer.from_file(str(textual / "tokenizer.json"))
        pad_id = self.tokenizer.token_to_id(pad)
        self.tokenizer.enable_padding(length=self.length, pad_token=pad, pad_id=pad_id)
        self.tokenizer.enable_truncation(max_length=self.length)
        self.visual, self.textual = (
            onnxruntime.InferenceSession(str(part / "model.onnx")) for part in (visual, textual)
        )

    def text(self, text):
        ids = self.tokenizer.encode(" ".join(text.split())).ids
        (embedding,) = self.textual.run(None, {"text": np.array([ids], dtype=np.int32)})[0]
        return embedding

    def picture(self, picture):
        size = self.pictures["size"][0]
        resample = Image.Resampling[self.pictures["interpolation"].upper()]
        if self.pictures["resize_mode"] == "squash":
            picture = picture.resize((size, size), resample)
        else:
            width, height = picture.size
            scale = size / min(width, height)
            edges = [size if edge == min(width, height) else int(edge * scale)
                     for edge in (width, height)]  # fmt: skip
            picture = picture.resize(edges, resample)
            left, top = (int(edge / 2 - size / 2) for edge in edges)
            picture = picture.crop((left, top, left + size, top + size))
        values = np.asarray(picture, dtype=np.float32) / 255
        values = (values - np.float32(self.pictures["mean"])) / np.float32(self.pictures["std"])
        (embedding,) = self.visual.run(None, {"image": values.transpose(2, 0, 1)[None]})[0]
        return embedding
