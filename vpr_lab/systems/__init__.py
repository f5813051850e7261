"""The lab: published systems of visual place recognition, trained and set side by side on the same drives."""
