"""Files of object storage (`s3://`, `gs://`, `hf://` and others) as verified files on the local disk."""
