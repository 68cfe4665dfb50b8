"""Models: front end (`frontend`), networks (`networks`), and verified weights.

In: a bundled name, a model folder, or a Hub id "hf://owner/name[@revision]".
Out: a `ModelCard` and verified weights (`registry.read_model`), or a Keras model
(`registry.load_model`); model folders (`folder.write_folder`) and commits (`publish.push`).
"""
