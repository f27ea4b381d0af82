"""Each benchmark runs and tells what it should; its speed is nobody's test."""
