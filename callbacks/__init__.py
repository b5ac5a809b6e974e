"""Lightning callbacks: samples, resynthesis, token writing, run health."""
