"""Signs a model file and its provenance, or checks both: a program of the trainer image beside the trainer.

The formats are those of OpenSSF's model-signing, so that anybody can check without us; why its library is not the one
that writes them stands in ``docs/design``.
"""
