"""Recordings to waveform segments, and the Keras layers that turn those into log-mel.

In: a path or an array. `stream.open_file` recognises it (`containers`, `mp3`), opens a decoder
(`decoders`) and gives an `AudioStream` of mono blocks; `segments` cuts them. Out: segments float32
`(n, segment_samples)`, and `frontend.log_mel`. Only `frontend` imports Keras.
"""
