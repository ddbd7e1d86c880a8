from .dsym_detector import DSYMDetector
from .pseudo_mix import PseudoMixUp, PseudoMosaic
from .pseudo_records import PseudoRecord

__all__ = ['DSYMDetector', 'PseudoMixUp', 'PseudoMosaic', 'PseudoRecord']
