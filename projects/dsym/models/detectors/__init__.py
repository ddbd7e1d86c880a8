from .dsym_detector import DSYMDetector
from .pseudo_labels import PseudoRecord
from .pseudo_mix import PseudoMixUp, PseudoMosaic

__all__ = ['DSYMDetector', 'PseudoMixUp', 'PseudoMosaic', 'PseudoRecord']
