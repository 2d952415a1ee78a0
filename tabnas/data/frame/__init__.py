"""From a pandas DataFrame to a Table: which column is what, the split, and the encoding fitted to the training rows.

values: a column as text, numbers, days or truth values. kinds: what a column is. split: which rows validate.
target: what is predicted. encode: from columns to numbers, fitted once and applied to any rows. build: all in order.
"""

from tabnas.data.frame.build import from_frame, takes_frame_options
from tabnas.data.frame.encode import Encoding

__all__ = ["Encoding", "from_frame", "takes_frame_options"]
