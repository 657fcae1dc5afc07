"""What a look at a data set costs, beside DVC, on the same data in the same S3 server."""
