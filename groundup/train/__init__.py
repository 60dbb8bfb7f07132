"""The training loop and what it needs: where a run is kept, how it is watched, how it is drawn."""
