package mls

var refusalsKeyPackage = []refusal{}
