"""Models for other runtimes: ONNX, TFLite (LiteRT), SavedModel; the front end inside."""

from artist_features.export.exporter import FORMATS, PRECISIONS, Exported, export_model

__all__ = ["FORMATS", "PRECISIONS", "Exported", "export_model"]
