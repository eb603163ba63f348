"""The encoder, its classifier and its projector."""
