"""SentencePiece's description of its models, and of the pieces in them."""

from typing import Any

from sentencepiece import sentencepiece_model_pb2

ModelProto: Any = sentencepiece_model_pb2.__dict__["ModelProto"]  # made on import, so that type checkers do not see it
Piece = ModelProto.SentencePiece
WRITTEN = (Piece.NORMAL, Piece.USER_DEFINED)  # types of pieces that a text is cut into
