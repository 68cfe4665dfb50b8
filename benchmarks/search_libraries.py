"""The indices that search.py compares: how each is built, written, opened and asked."""

import numpy as np

DIM, K = 256, 10
HNSW = {"connections": 32, "build": 128, "query": 64}  # the same for all three libraries


def build_package(method):
    def make(rows, path):
        from artist_features.search import Index, IndexedTrack

        tracks = [IndexedTrack(f"/{n}", f"artist {n // 20}") for n in range(len(rows))]
        made_with = {"model": "synthetic", "weights_sha256": "0" * 64}
        Index.build(rows, tracks, made_with, method=method).save(path)

    return make


def open_package(path):
    from artist_features.search import Index

    index = Index.load(path)
    return lambda vector: [match.row for match in index.query(vector, K)]


def build_faiss(make):
    def run(rows, path):
        import faiss

        index = make(faiss, len(rows))
        index.train(rows)
        index.add(rows)
        faiss.write_index(index, path)

    return run


def faiss_ivf(faiss, n_rows):
    n_lists = round(4 * n_rows**0.5)  # as many as `ours`, and as many read
    index = faiss.index_factory(DIM, f"IVF{n_lists},Flat", faiss.METRIC_INNER_PRODUCT)
    index.nprobe = max(16, n_lists // 32)
    return index


def faiss_hnsw(faiss, n_rows):
    index = faiss.IndexHNSWFlat(DIM, HNSW["connections"], faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = HNSW["build"], HNSW["query"]
    return index


def open_faiss(path):
    import faiss

    index = faiss.read_index(path)
    return lambda vector: index.search(vector[None], K)[1][0]


def usearch_index():
    from usearch.index import Index

    return Index(
        ndim=DIM,
        metric="ip",
        dtype="f32",
        connectivity=HNSW["connections"],
        expansion_add=HNSW["build"],
        expansion_search=HNSW["query"],
    )


def build_usearch(rows, path):
    index = usearch_index()
    index.add(np.arange(len(rows)), rows)
    index.save(path)


def open_usearch(path):
    index = usearch_index()
    index.view(path)
    return lambda vector: index.search(vector, K).keys


def build_hnswlib(rows, path):
    import hnswlib

    index = hnswlib.Index("ip", DIM)
    index.init_index(len(rows), ef_construction=HNSW["build"], M=HNSW["connections"])
    index.add_items(rows)
    index.save_index(path)


def open_hnswlib(path):
    import hnswlib

    index = hnswlib.Index("ip", DIM)
    index.load_index(path)
    index.set_ef(HNSW["query"])
    return lambda vector: index.knn_query(vector, K)[0][0]


BUILDERS = {
    "exact": build_package("exact"),
    "ours": build_package("approximate"),
    "faiss IVF": build_faiss(faiss_ivf),
    "faiss HNSW": build_faiss(faiss_hnsw),
    "usearch HNSW": build_usearch,
    "hnswlib HNSW": build_hnswlib,
}
OPENERS = {
    "exact": open_package,
    "ours": open_package,
    "faiss IVF": open_faiss,
    "faiss HNSW": open_faiss,
    "usearch HNSW": open_usearch,
    "hnswlib HNSW": open_hnswlib,
}
