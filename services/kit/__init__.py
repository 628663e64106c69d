"""Infrastructure without business words: settings, database, blobs, arrays, keys, stages, HTTP plumbing."""
