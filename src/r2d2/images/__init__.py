"""Encoded image files: `decode` them, within `limits` of cost, from base64, and as `thumbnails`."""
