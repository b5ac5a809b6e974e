#!/usr/bin/env bash
# transformers 5 writes the base of rotary positions where transformers 4 does not look.
# Versions: transformers 5.24.0 writes, transformers 4.57.6 reads.
# Expected: a configuration means the same in both, or the older one refuses it.
# What happens: 5 writes `rope_parameters` alone; 4 takes its default, 10,000, without a warning or an error, so a
# model that was trained with 100,000 answers otherwise. Tools that read `rope_theta` (mlx-lm 0.32.2) do the same.
# Source: transformers 5, modeling_rope_utils.py, `convert_rope_params_to_dict`: the old names are read, not written.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 5.24.0 4.57.6; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "transformers==$version"
done
"$folder/5.24.0/bin/python" - "$folder/model" 2>/dev/null <<'EOF'
import sys
from transformers import LlamaConfig
LlamaConfig(rope_theta=100_000.0).save_pretrained(sys.argv[1])
EOF
found=$("$folder/4.57.6/bin/python" - "$folder/model" 2>/dev/null <<'EOF'
import sys
from transformers import AutoConfig
print(AutoConfig.from_pretrained(sys.argv[1]).rope_theta)
EOF
)
echo "written by 5.24.0: $(tr -d '\n ' < "$folder/model/config.json" | grep -o '"rope_parameters":{[^}]*}')"
echo "read by 4.57.6: rope_theta $found"
[ "$found" = 10000.0 ]
