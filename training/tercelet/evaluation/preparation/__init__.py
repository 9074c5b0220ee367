"""The steps of `tercelet prepare`: settings, splits, one frame, processes, COCO files, the folder."""
