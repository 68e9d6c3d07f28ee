package mls

var refusalsState = []refusal{}
