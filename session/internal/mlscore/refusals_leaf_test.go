package mls

var refusalsLeaf = []refusal{}
