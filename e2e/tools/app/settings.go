package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

// settings say how a release behaves. Each is a variable of the environment, so that a bad release is a good one with
// another environment.
type settings struct {
	version    string
	listen     string
	latency    time.Duration
	errorRate  float64
	memoryMB   int
	cpuShare   float64
	crashAfter time.Duration
	readyAfter time.Duration
	drain      time.Duration
}

func readSettings() (settings, error) {
	r := reader{}
	s := settings{
		version:    r.text("VERSION", "unknown"),
		listen:     r.text("LISTEN", ":8080"),
		latency:    time.Duration(r.number("LATENCY_MS", 0) * float64(time.Millisecond)),
		errorRate:  r.number("ERROR_RATE", 0),
		memoryMB:   int(r.number("MEMORY_MB", 0)),
		cpuShare:   r.number("CPU_SHARE", 0),
		crashAfter: r.duration("CRASH_AFTER"),
		readyAfter: r.duration("READY_AFTER"),
		drain:      r.duration("DRAIN"),
	}
	if r.err == nil && (s.errorRate < 0 || s.errorRate > 1) {
		r.err = fmt.Errorf("ERROR_RATE: %v is not a share between 0 and 1", s.errorRate)
	}
	if r.err == nil && s.cpuShare > 1 {
		r.err = fmt.Errorf("CPU_SHARE: %v is more than one core", s.cpuShare)
	}
	return s, r.err
}

// reader keeps the first thing that was wrong.
type reader struct{ err error }

func (r *reader) text(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func (r *reader) number(name string, otherwise float64) float64 {
	value := os.Getenv(name)
	if value == "" {
		return otherwise
	}
	number, err := strconv.ParseFloat(value, 64)
	if err == nil && number < 0 {
		err = fmt.Errorf("%v is negative", number)
	}
	r.note(name, err)
	return number
}

// duration reads a Go duration such as 500ms. Zero means: not at all.
func (r *reader) duration(name string) time.Duration {
	value := os.Getenv(name)
	if value == "" {
		return 0
	}
	duration, err := time.ParseDuration(value)
	r.note(name, err)
	return duration
}

func (r *reader) note(name string, err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s: %w", name, err)
	}
}
