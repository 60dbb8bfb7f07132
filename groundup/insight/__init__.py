"""To see what a run did, and to foresee what it will do."""
