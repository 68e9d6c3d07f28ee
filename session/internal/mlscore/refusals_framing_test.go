package mls

var refusalsFraming = []refusal{}
