"""Quality and toxicity of continuations: what a model goes on to say after a prompt, judged as text."""
