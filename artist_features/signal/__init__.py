"""Recordings to waveform segments, and the Keras layers that turn those into log-mel."""
