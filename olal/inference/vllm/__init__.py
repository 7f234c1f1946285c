"""The vLLM engine. Importing this folder loads no vLLM; building an engine does, in the process that builds it."""
