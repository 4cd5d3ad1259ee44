"""Reports of a verified evidence bundle, for people who have to decide on it. Everything comes from verified bytes."""
