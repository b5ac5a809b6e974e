"""Corpora: recordings, transcripts, speakers and word times, described by lhotse manifests."""
