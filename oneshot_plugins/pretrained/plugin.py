"""Offer what makes pretrained models elastic to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, Conformance, hookimpl

_ADAPTERS = "oneshot_plugins.pretrained.adapters"
_MODELS = "transformers.models"


def _adapter(name: str, target: str, summary: str, *handles: str) -> Component:
    return Component("adapter", name, f"{_ADAPTERS}.{target}", summary=summary, handles=handles)


@hookimpl
def oneshot_components() -> list[Component]:
    return [*_language_models(), *_vision_models(), *_layers_of_torch(), *_importance()]


@hookimpl
def oneshot_conformance() -> Conformance:
    functions = {
        component.name: component.name.replace(".", "_").replace("-", "_").removeprefix("torch_")
        for component in oneshot_components()
        if component.kind == "adapter"
    }
    functions["conv1d"] = "gpt2"
    functions["t5-stack"] = "t5"
    made = "oneshot_plugins.pretrained.samples"
    return Conformance(
        samples={f"adapter:{name}": f"{made}:{function}" for name, function in functions.items()}
    )


def _language_models() -> list[Component]:
    return [
        _adapter(
            "bert",
            "encoders:BERT",
            "BERT, MiniLM, RoBERTa",
            f"{_MODELS}.bert.modeling_bert:BertModel",
            f"{_MODELS}.roberta.modeling_roberta:RobertaModel",
            f"{_MODELS}.xlm_roberta.modeling_xlm_roberta:XLMRobertaModel",
        ),
        _adapter(
            "bert-head",
            "encoders:BERT_HEAD",
            "BERT that predicts words",
            f"{_MODELS}.bert.modeling_bert:BertForMaskedLM",
            f"{_MODELS}.bert.modeling_bert:BertForPreTraining",
            f"{_MODELS}.bert.modeling_bert:BertLMHeadModel",
        ),
        _adapter(
            "roberta-head",
            "encoders:ROBERTA_HEAD",
            "RoBERTa that predicts words or classes",
            *(
                f"{_MODELS}.{family}.modeling_{family}:{cls}{model}"
                for family, cls in (("roberta", "Roberta"), ("xlm_roberta", "XLMRoberta"))
                for model in ("ForMaskedLM", "ForCausalLM", "ForSequenceClassification")
            ),
        ),
        _adapter(
            "distilbert",
            "encoders:DISTILBERT",
            "DistilBERT",
            f"{_MODELS}.distilbert.modeling_distilbert:DistilBertModel",
        ),
        _adapter(
            "distilbert-head",
            "encoders:DISTILBERT_HEAD",
            "DistilBERT that predicts words or classes",
            f"{_MODELS}.distilbert.modeling_distilbert:DistilBertForMaskedLM",
            f"{_MODELS}.distilbert.modeling_distilbert:DistilBertForSequenceClassification",
        ),
        _adapter(
            "llama",
            "decoders:GROUPED",
            "Llama, Mistral, Qwen2, Qwen3: grouped queries",
            *(
                f"{_MODELS}.{family}.modeling_{family}:{family.title()}Model"
                for family in ("llama", "mistral", "qwen2", "qwen3")
            ),
        ),
        _adapter(
            "gemma",
            "decoders:GEMMA",
            "Gemma, Gemma 2, Gemma 3",
            f"{_MODELS}.gemma.modeling_gemma:GemmaModel",
            f"{_MODELS}.gemma2.modeling_gemma2:Gemma2Model",
            f"{_MODELS}.gemma3.modeling_gemma3:Gemma3TextModel",
        ),
        _adapter("gpt2", "decoders:GPT2", "GPT-2", f"{_MODELS}.gpt2.modeling_gpt2:GPT2Model"),
        _adapter(
            "conv1d", "decoders:CONV1D", "Conv1D of GPT-2", "transformers.pytorch_utils:Conv1D"
        ),
        _adapter("t5", "t5:T5", "T5 as a whole", f"{_MODELS}.t5.modeling_t5:T5PreTrainedModel"),
        _adapter(
            "t5-stack",
            "t5:T5_STACK",
            "encoder or decoder of T5",
            f"{_MODELS}.t5.modeling_t5:T5Stack",
        ),
    ]


def _vision_models() -> list[Component]:
    return [
        _adapter(
            "vit", "vision:VIT", "ViT of transformers", f"{_MODELS}.vit.modeling_vit:ViTModel"
        ),
        _adapter(
            "dinov2", "vision:DINOV2", "DINOv2", f"{_MODELS}.dinov2.modeling_dinov2:Dinov2Model"
        ),
        _adapter(
            "timm.vit",
            "vision:TIMM_VIT",
            "ViT of timm",
            "timm.models.vision_transformer:VisionTransformer",
        ),
        _adapter(
            "torchvision.vit",
            "vision:TORCHVISION_VIT",
            "ViT of torchvision",
            "torchvision.models.vision_transformer:VisionTransformer",
        ),
        _adapter(
            "torchvision.swin",
            "vision:TORCHVISION_SWIN",
            "Swin Transformer of torchvision",
            "torchvision.models.swin_transformer:SwinTransformer",
        ),
        _adapter(
            "resnet",
            "convolutional:RESNET",
            "ResNet of torchvision and timm: depth",
            "torchvision.models.resnet:ResNet",
            "timm.models.resnet:ResNet",
        ),
        _adapter(
            "torchvision.convnext",
            "convolutional:CONVNEXT",
            "ConvNeXt of torchvision: depth",
            "torchvision.models.convnext:ConvNeXt",
        ),
        _adapter(
            "torchvision.efficientnet",
            "convolutional:EFFICIENTNET",
            "EfficientNet of torchvision: depth",
            "torchvision.models.efficientnet:EfficientNet",
        ),
        _adapter(
            "torchvision.mobilenet",
            "convolutional:MOBILENET",
            "MobileNet of torchvision: depth",
            "torchvision.models.mobilenetv2:MobileNetV2",
            "torchvision.models.mobilenetv3:MobileNetV3",
        ),
        _adapter(
            "timm.convnext",
            "convolutional:TIMM_CONVNEXT",
            "ConvNeXt of timm: depth",
            "timm.models.convnext:ConvNeXt",
        ),
        _adapter(
            "timm.efficientnet",
            "convolutional:TIMM_EFFICIENTNET",
            "EfficientNet and MobileNetV3 of timm: depth",
            "timm.models.efficientnet:EfficientNet",
            "timm.models.mobilenetv3:MobileNetV3",
        ),
    ]


def _layers_of_torch() -> list[Component]:
    modules = "torch.nn.modules"
    return [
        _adapter(
            "torch.attention",
            "torch_layers:MULTIHEAD_ATTENTION",
            "nn.MultiheadAttention",
            f"{modules}.activation:MultiheadAttention",
        ),
        _adapter(
            "torch.transformer-layer",
            "torch_layers:TRANSFORMER_LAYER",
            "nn.TransformerEncoderLayer and nn.TransformerDecoderLayer",
            f"{modules}.transformer:TransformerEncoderLayer",
            f"{modules}.transformer:TransformerDecoderLayer",
        ),
        _adapter(
            "torch.transformer-stack",
            "torch_layers:TRANSFORMER_STACK",
            "nn.TransformerEncoder and nn.TransformerDecoder: depth",
            f"{modules}.transformer:TransformerEncoder",
            f"{modules}.transformer:TransformerDecoder",
        ),
        _adapter(
            "torch.transformer",
            "torch_layers:TRANSFORMER",
            "nn.Transformer",
            f"{modules}.transformer:Transformer",
        ),
    ]


def _importance() -> list[Component]:
    return [
        Component(
            "importance",
            "activation",
            "oneshot_plugins.pretrained.importance:activation",
            summary="norm of the activations times norm of the weights that they go into",
        ),
        Component(
            "importance",
            "head-output",
            "oneshot_plugins.pretrained.importance:head_output",
            summary="norm of what an item, such as a head, adds to the outputs of its weights",
        ),
        Component(
            "importance",
            "taylor",
            "oneshot_plugins.pretrained.importance:taylor",
            summary="sum of |gradient * weight|: the change of the loss, to first order",
        ),
        Component(
            "importance",
            "magnitude",
            "oneshot_plugins.pretrained.importance:magnitude",
            summary="norm of the weights alone; needs no batches",
        ),
    ]
