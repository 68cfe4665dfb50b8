"""Recordings to waveform segments.

In: a path or an array. `stream.open_file` recognises it (`containers`, `mp3`), opens a decoder
(`decoders`) and gives an `AudioStream` of mono blocks. Out: segments float32
`(n, segment_samples)`, cut by `segments`. Nothing here imports Keras.
"""
