//go:build race

package check

// raceDetector tells that the race detector is on, which slows guests down and takes memory of its own.
const raceDetector = true
