"""Features at rest: one content-addressed entry for each media file and extractor, in a folder, packs or a bucket."""
