# %%
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import singledispatch, total_ordering
from typing import ClassVar, Protocol


# %%
@total_ordering
class Shape(ABC):
    """Something with an area."""

    made: ClassVar[int] = 0
    registry: ClassVar[dict] = {}

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        Shape.registry[cls.__name__.lower()] = cls

    def __init__(self, name=""):
        self.name = name or type(self).__name__
        Shape.made += 1

    @abstractmethod
    def area(self) -> float: ...

    def __lt__(self, other):
        return self.area() < other.area()

    def __eq__(self, other):
        return isinstance(other, Shape) and math.isclose(self.area(), other.area())

    def __hash__(self):
        return hash(round(self.area(), 9))

    def __repr__(self):
        return f"{self.name}({self.area():.2f})"


# %% changes: Shape
class Circle(Shape):
    def __init__(self, radius, name=""):
        super().__init__(name)
        self.radius = radius

    def area(self):
        return math.pi * self.radius**2


class Rectangle(Shape):
    __slots__ = ("height", "width")

    def __init__(self, width, height, name=""):
        super().__init__(name)
        self.width, self.height = width, height

    def area(self):
        return self.width * self.height

    @classmethod
    def golden(cls, width):
        return cls(width, width / ((1 + math.sqrt(5)) / 2), name="golden")


# %% changes: Shape
class Square(Rectangle):
    def __init__(self, side, name=""):
        super().__init__(side, side, name)

    @property
    def side(self):
        return self.width

    @side.setter
    def side(self, value):
        self.width = self.height = value


shapes = [Circle(1), Rectangle(2, 3), Square(2)]
sorted(shapes)


# %% changes: Shape, shapes
class Scaled(Shape):
    """A shape that is another one, only larger."""

    def __init__(self, inner, factor):
        super().__init__(f"{factor} x {inner.name}")
        self.inner, self.factor = inner, factor

    def area(self):
        return self.inner.area() * self.factor**2


shapes += [Scaled(shapes[0], 2), Rectangle.golden(1)]
shapes[-2].inner is shapes[0]


# %%
class Group:
    def __init__(self, *members):
        self.members = list(members)
        self.parent = None
        for member in members:
            if isinstance(member, Group):
                member.parent = self

    def __iter__(self) -> Iterator:
        for member in self.members:
            yield from member if isinstance(member, Group) else (member,)


leaf = Group(shapes[0], shapes[1])
tree = Group(leaf, Group(shapes[2]), shapes[3])
print(*tree)

# %% changes: shapes
Square.side.fset(shapes[2], 3)
is_same = leaf.parent is tree and next(iter(tree)) is shapes[0]
largest = max(tree)
largest, is_same


# %%
class HasArea(Protocol):
    def area(self) -> float: ...


@singledispatch
def describe(thing: HasArea):
    return f"something of {thing.area():.1f}"


@describe.register
def _(thing: Circle):
    return f"round, radius {thing.radius}"


@describe.register
def _(thing: Rectangle):
    return f"{thing.width} by {thing.height:.2f}"


# %%
for shape in shapes:
    print(f"{shape.name:<12} {describe(shape)}")

# %% changes: Circle
Circle.area_of_unit = staticmethod(lambda: math.pi)
round_ones = [shape for shape in shapes if isinstance(shape, Circle)]
kinds = {name: [base.__name__ for base in cls.__mro__[1:-2]] for name, cls in Shape.registry.items()}
kinds

# %%
by_shape = {shape: shape.name for shape in shapes}
found = [by_shape.get(Circle(1)), by_shape.get(Square(3)), by_shape.get(Rectangle(9, 1))]
found

# %%
checks = [isinstance(shape, Rectangle) for shape in shapes]
checks += [type(shapes[2]) is Square, issubclass(Square, Shape), shapes[0] == Circle(1)]

# %%
results = {
    "areas": [round(shape.area(), 9) for shape in shapes],
    "names": [shape.name for shape in sorted(shapes)],
    "largest": largest.name,
    "same": is_same,
    "parent": leaf.parent is tree and all(a is b for a, b in zip(tree, tree, strict=True)),
    "kinds": kinds,
    "found": found,
    "checks": checks,
    "round": [shape.area_of_unit() for shape in round_ones],
    "unit": Circle.area_of_unit(),
    "described": [describe(shape) for shape in shapes],
}
