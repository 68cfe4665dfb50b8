"""Maps and pictures: two-dimensional layout of embeddings, its HTML page, a clip's log-mel.

In: a table that `extract` wrote, and a manifest for names. Out: one page (`map.write_map`, from
`layout`, `page` and the files of `page_files/`), or a picture of one clip (`plots`).
"""
