package main

import "testing"

func TestTheShareOfFailuresIsMetByEveryFewAnswers(t *testing.T) {
	for _, rate := range []float64{0, 0.1, 0.25, 0.3, 1} {
		failures := failures{rate: rate}
		failed := 0
		for range 100 {
			if failures.next() {
				failed++
			}
		}
		if want := int(rate * 100); failed != want && failed != want-1 {
			t.Errorf("a rate of %v failed %d of 100, not %d", rate, failed, want)
		}
	}
}
