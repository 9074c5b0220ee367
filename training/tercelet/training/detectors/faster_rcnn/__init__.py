"""Faster R-CNN with a caffe ResNet-50 and a feature pyramid: the 2D detector that ImVoteNet was published
with."""
