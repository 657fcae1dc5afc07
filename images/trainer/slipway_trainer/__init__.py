"""What training code imports: ``Context`` goes in, ``TrainedModel`` comes out."""

from .context import Context, TrainedModel

__all__ = ["Context", "TrainedModel"]
