"""Keys of a config.json that everybody who reads one may pass over."""

HARMLESS = {
    # where it came from, and what for
    "_name_or_path", "architectures", "model_type", "transformers_version", "transformers.js_config", "torch_dtype",
    "dtype", "is_llama_config", "quantization_config", "is_encoder_decoder", "is_decoder", "tokenizer_class",
    "finetuning_task", "unsloth_fixed", "unsloth_version",
    # ids, which the tokenizer and the generation settings say too
    "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id", "task_specific_params",
    # how it is trained, and what its forward pass hands back
    "initializer_range", "use_cache", "pretraining_tp", "gradient_checkpointing", "reorder_and_upcast_attn",
    "output_attentions", "output_hidden_states", "output_router_logits", "output_past", "return_dict",
    "router_aux_loss_coef", "router_jitter_noise", "torchscript", "use_return_dict", "use_bfloat16", "embd_pdrop",
    "attn_pdrop", "_flash_attn_2_enabled", "_attn_implementation_autoset",
    # of GPT-2's summary head and of classifiers, which are not read here
    "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
    "id2label", "label2id", "num_labels", "_num_labels", "problem_type", "chunk_size_feed_forward", "n_ctx",
    "n_special", "predict_special_tokens",
}  # fmt: skip
"""Keys that change nothing in the logits. `quantization_config` is refused before, where it is set."""
