"""Recordings to embeddings.

In: what `recordings` makes a `Source` of. `decode` turns one into segments and `Facts`;
`decode_pool` does so for many at once, in threads or in processes (`decode_process` is the parent's
side, `decode_worker` the program); `batching` runs the model over their segments. Out: `Result`s
from `extractor.Extractor.results`, arrays from `extractor.extract`.
"""
