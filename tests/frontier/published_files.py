"""Small made-up files in the papers' formats, and the networks that they could be of."""

from dataclasses import fields
from pathlib import Path

from depthopt.core.chain import Barrier, Block, Chain, Layout, Skip
from depthopt.core.operators import Activation, Convolution
from depthopt.tables.latency import MeasurementConditions

CONDITIONS = MeasurementConditions("RTX 2080 Ti", "tensorrt", "8", None, "float16", 128)

TIMES = """id,st,end,time,stdev
0,0,1,1.0,0.1
1,1,2,2.0,0.2
2,0,2,4.0,0.0
3,2,3,3.0,0.0
"""

BEST_TIMES = """id,st,end,time,stdev,breaks
0,0,1,1.0,0.1,"0,1"
1,1,2,2.0,0.2,"1,2"
2,0,2,3.0,0.0,"0,1,2"
3,2,3,3.0,0.0,"2,3"
"""

WHOLE_TIMES = """id,st,end,time,stdev
0,0,1,1.0,0.1
1,1,2,2.0,0.2
2,2,3,3.0,0.0
3,0,2,2.5,0.0
4,1,3,4.5,0.0
5,0,3,4.0,0.0
"""

STATES = """,id,st,end,st_act,end_act,train_loss,train_acc,val_loss,val_acc
0,0,0,1,1,1,0.1,-1.0,0.25,-2.0
0,1,1,2,1,1,0.1,-1.0,0.25,-3.0
0,2,2,3,1,0,0.1,-1.0,0.25,-4.0
0,3,2,3,1,1,0.1,-1.0,0.25,1.0
0,4,1,3,1,0,0.1,-1.0,0.50,-6.0
0,5,0,3,1,1,0.1,-1.0,0.75,-9.0
"""

EXTENDED = """id,st,end,st_act,end_act,imp,breaks
0,0,1,1,1,1.5,"0,1"
1,1,2,1,1,0.5,"1,2"
2,2,3,1,0,-0.5,"2,3"
3,1,3,1,0,-2.5,"1,3"
4,0,3,1,1,-5.5,"0,3"
"""

MERGES = """id,st,end,ker,str,is_dw,time,stdev
0,0,1,1,1,False,1.0,0.1
1,1,2,3,1,True,2.0,0.2
2,2,3,1,1,False,3.0,0.0
3,1,3,3,1,False,2.5,0.0
4,1,3,1,1,False,3.0,0.0
"""

SCORES = """st,end,ker,str,conv_comb,importance
0,1,1,1,[0],1.0
1,2,3,1,[1],1.0
2,3,1,1,"[2]",1.0
1,3,3,1,"[1, 2]",1.75
1,3,1,1,[2],1.5
"""

ACCURACIES = """,id,st,end,ker,str,is_dw,conv_comb,train_loss,train_acc,val_loss,val_acc
0,0,0,1,1,1,False,"(1,)",0.1,-1.0,0.25,-2.0
0,1,1,2,3,1,True,"(2,)",0.1,-1.0,0.25,-3.0
0,2,2,3,1,1,False,"(3,)",0.1,-1.0,0.25,1.0
0,3,1,3,3,1,False,"(2, 3)",0.1,-1.0,0.50,-20.0
0,4,1,3,1,1,False,"(3,)",0.1,-1.0,0.75,-50.0
"""

LAYERS = "index,time,stdev\n1,1.0,0.1\n2,2.0,0.1\n"

LAYER_SCORES = ",id,index,importance\n0,0,1,1.1\n"

DIFFUSION = """,id,st,end,ker,str,is_dw,conv_comb,val_loss,val_loss_ratio
0,0,0,1,3,1,False,"(1,)",0.1,0.2
0,1,1,2,0,1,True,"()",0.1,0.2
"""


def write(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def chain(*, head: bool = False) -> Chain:
    """A stem, then one inverted residual of 1x1, depthwise 3x3, linear 1x1; then a head."""
    convolutions = [
        Convolution(3, 4, (3, 3), padding=(1, 1, 1, 1)),
        Convolution(4, 8, (1, 1)),
        Convolution(8, 8, (3, 3), padding=(1, 1, 1, 1), groups=8),
        Convolution(8, 4, (1, 1)),
        *([Convolution(4, 16, (1, 1))] if head else []),
    ]
    names = {f.name: "node" for f in fields(Block)}
    blocks = tuple(
        Block(
            **names
            | {
                "operator": convolution,
                "layout": Layout(convolution.in_channels, (8, 8), convolution.out_channels, (8, 8)),
                "activation": None if i == 3 else Activation("relu6"),
            }
        )
        for i, convolution in enumerate(convolutions)
    )
    return Chain("net", (3, 8, 8), blocks, (Skip(1, 4, "add", "b"),), (Barrier(1, "x", "y"),), ())


def pooled() -> Chain:
    """Three equal blocks, a pooling behind the first."""
    convolution = Convolution(8, 8, (3, 3), padding=(1, 1, 1, 1))
    names = {f.name: "node" for f in fields(Block)}
    blocks = tuple(
        Block(
            **names
            | {
                "operator": convolution,
                "layout": Layout(8, (size, size), 8, (size, size)),
                "activation": Activation("relu"),
            }
        )
        for size in (16, 8, 8)
    )
    return Chain("vgg", (8, 16, 16), blocks, (), (Barrier(1, "pool", "a pooling"),), ())
