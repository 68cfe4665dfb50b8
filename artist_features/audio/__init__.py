"""Recordings to waveform segments.

In: a path or an array. `stream.open_file` opens a file (`file_bytes`), recognises it (`containers`,
`chunks`, `mp3`, `flac`, `tags`), opens a decoder (`decoders`) and gives an `AudioStream` of mono
blocks. Out: segments float32 `(n, segment_samples)`, cut by `segments`. Nothing here imports Keras.
"""
