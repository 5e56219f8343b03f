"""What is installed to work on edgekit, and what is shipped of edgekit itself: pinned by hash, checked against advisories, attested."""
