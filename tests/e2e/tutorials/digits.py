# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score, classification_report, confusion_matrix
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

# %%
digits = load_digits()
print(digits.data.shape, digits.target_names)
digits.target[:10]

# %%
fig, axes = plt.subplots(2, 5, figsize=(5, 2.4))
for ax, image, label in zip(axes.flat, digits.images, digits.target, strict=False):
    ax.imshow(image, cmap="gray_r")
    ax.set_title(f"{label}")
    ax.axis("off")

# %%
X_train, X_test, y_train, y_test = train_test_split(
    digits.data, digits.target, test_size=0.3, random_state=0, stratify=digits.target
)
len(X_train), len(X_test)


# %%
def brighten(X):
    return np.sqrt(X)


pipeline = Pipeline(
    [
        ("brighten", FunctionTransformer(brighten)),
        ("scale", StandardScaler()),
        ("svm", SVC()),
    ]
)
pipeline.get_params()["svm__C"]

# %%
grid = {"svm__C": [1, 10], "svm__gamma": [0.005, 0.02]}
search = GridSearchCV(pipeline, grid, cv=3)
search.fit(X_train, y_train)
search.best_params_

# %%
best = search.best_estimator_
predicted = best.predict(X_test)
accuracy = accuracy_score(y_test, predicted)
print(f"accuracy {accuracy:.4f}")

# %%
print(classification_report(y_test, predicted))
matrix = confusion_matrix(y_test, predicted)
matrix

# %%
display = ConfusionMatrixDisplay(matrix, display_labels=digits.target_names)
display.plot(cmap="Blues")
plt.title("Which digits are taken for others")
# %%
wrong = np.flatnonzero(predicted != y_test)
mistakes = [(int(y_test[i]), int(predicted[i])) for i in wrong]
mistakes[:3]

# %%
scores = {
    f"C={p['svm__C']} gamma={p['svm__gamma']}": round(float(s), 6)
    for p, s in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True)
}
for setting, score in scores.items():
    print(f"{setting:<22} {score:.3f}")

# %%
results = {
    "accuracy": accuracy,
    "best": search.best_params_,
    "diagonal": np.diag(matrix).tolist(),
    "mistakes": mistakes,
    "scores": scores,
    "support vectors": int(best["svm"].n_support_.sum()),
}
