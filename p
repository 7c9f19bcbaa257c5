#!/bin/bash
export PYTHONPATH=$PWD DFC_DATA=/work/shared/data
exec /work/main/.venv/bin/python "$@"
