"""Values and files at rest: time, media facts, features, their store, data set manifests and forgeries."""
