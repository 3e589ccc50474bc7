"""What a trained model is used for, and how well it does it: one module a use, all registered in `measure`."""

from vaept.uses.classifier import Classifier, fit_classifier
from vaept.uses.member import Member

__all__ = ["Classifier", "Member", "fit_classifier"]
