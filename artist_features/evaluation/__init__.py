"""Scores of models on labelled tracks.

In: `Track`s, a model or a baseline; `vectors` embeds them. Out: artist retrieval (`artists`), the
paper's softmax layer (`softmax`), cross-validated classifiers (`crossvalidation`), each against the
first model, as tables and JSON records (`report`).
"""
