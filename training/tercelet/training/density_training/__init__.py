"""Training of density networks on VisDrone folders: frames, views, truth, loss, the loop."""
